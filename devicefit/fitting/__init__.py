"""From compressed readings to a posterior and its draws; knows the versions of the samplers."""
