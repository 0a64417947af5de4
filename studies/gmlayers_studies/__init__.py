"""The experiments of the paper on Gaussian mixture layers, one file each: `gmlayers reproduce NAME`."""
