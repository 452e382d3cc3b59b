"""Families of device models."""

from devicefit.models import lognormal, switching_failure
from devicefit.models.family import Family

FAMILIES: dict[str, Family] = {
    "lognormal": lognormal.FAMILY,
    "switching-failure": switching_failure.FAMILY,
}

__all__ = ["FAMILIES", "Family"]
