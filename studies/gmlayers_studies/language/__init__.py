"""Small language models over bytes, which differ in their feed-forward blocks alone."""
