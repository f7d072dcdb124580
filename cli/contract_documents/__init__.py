"""Renders what the bus carries, from the code: JSON Schemas, AsyncAPI documents, a catalogue."""
