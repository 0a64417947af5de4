"""``python -m gmlayers``."""

from gmlayers.cli import main

if __name__ == "__main__":
    main()
