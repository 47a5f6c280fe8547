"""Fileroom's archive: one ASGI application that speaks DICOMweb (PS3.18) and nothing else."""
