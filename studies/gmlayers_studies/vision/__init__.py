"""Small image classifiers, and the blocks that can stand in them."""
