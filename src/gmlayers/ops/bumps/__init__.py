"""The exponents of a Gaussian mixture module; so far its kernels only."""
