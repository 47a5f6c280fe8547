"""DIMSE as its user (SCU): Verification, Storage, Query and Retrieve towards other AEs."""
