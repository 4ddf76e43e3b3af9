"""Delivery: how a notification reaches a person, and how alerts reach other systems (CAP, Alertmanager)."""
