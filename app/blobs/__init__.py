"""Bytes: where objects live; knows keys and durability, never what the bytes mean."""
