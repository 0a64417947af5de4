"""Models with places for blocks: how blocks are compared in them, whatever the models learn."""
