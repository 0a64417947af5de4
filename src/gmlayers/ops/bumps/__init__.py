"""Gaussian bumps, and their Laplacians, without tensors of shape (batch, components, projections, features)."""

from gmlayers.ops.bumps._op import bumps as bumps
from gmlayers.ops.bumps._op import bumps_laplacian as bumps_laplacian
