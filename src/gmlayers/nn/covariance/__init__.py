"""Families of covariances, a file each."""

from __future__ import annotations

from gmlayers._names import brief_value, look_up
from gmlayers.nn.covariance._base import Covariance as Covariance
from gmlayers.nn.covariance._base import Law as Law
from gmlayers.nn.covariance._base import Params as Params
from gmlayers.nn.covariance._base import Root as Root
from gmlayers.nn.covariance._full import Full as Full
from gmlayers.nn.covariance._low_rank import Diagonal as Diagonal
from gmlayers.nn.covariance._low_rank import LowRank as LowRank
from gmlayers.nn.covariance._regression import Regression as Regression
from gmlayers.nn.covariance._shared_factor import SharedFactor as SharedFactor

FAMILIES: dict[str, Covariance] = {
    "low_rank": LowRank(),
    "shared_factor": SharedFactor(),
    "diagonal": Diagonal(),
    "full": Full(),
    "regression": Regression(),
}


def get_covariance(covariance: str | Covariance) -> Covariance:
    """Return the family of that name; a descriptor is returned as it is."""
    if isinstance(covariance, Covariance):
        return covariance
    if not isinstance(covariance, str):
        raise TypeError(f"covariance must be a name or a family, like LowRank(4), got {brief_value(covariance)}")
    return look_up("covariance", covariance, FAMILIES)
