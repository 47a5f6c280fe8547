"""door: HL7 v2 orders for the worklist, over MLLP."""
