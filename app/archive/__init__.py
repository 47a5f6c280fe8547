"""Deeds: store, search, retrieve, delete; joins a byte to a fact."""
