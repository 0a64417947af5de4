import shutil

import pytest

from gmlayers.cli import main


@pytest.fixture
def call(capsys):
    """Run a command in this process; return exit code, output, errors."""

    def run(*arguments):
        try:
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(call):
    """Run a command that must end with exit code 2 and one line, which says all of the parts."""

    def run(*arguments, parts=()):
        code, _, err = call(*arguments)
        assert code == 2, err
        (line,) = [line for line in err.strip().splitlines() if not line.startswith("gmlayers: note: ")]
        assert line.startswith("gmlayers: ")
        for part in parts:
            assert str(part) in line

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run; it is to be left as it is."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    main(["train", "digits", "--epochs", "1", "--width", "8", "--out", str(folder)])
    return folder


@pytest.fixture
def received(trained, tmp_path):
    """A copy of a finished run, which stands for one that came from somebody else."""
    return shutil.copytree(trained, tmp_path / "received")
