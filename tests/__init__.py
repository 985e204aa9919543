"""Tests; a package so that they can share what stands in support."""
