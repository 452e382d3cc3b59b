"""Families of device models."""

from devicefit.families import heavy_tailed, lognormal, skewed_failure, switching_failure
from devicefit.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        lognormal.FAMILY,
        heavy_tailed.STUDENT_T,
        heavy_tailed.LOG_LOGISTIC,
        switching_failure.FAMILY,
        skewed_failure.FAMILY,
    )
}

__all__ = ["FAMILIES", "Family"]
