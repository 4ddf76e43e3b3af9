"""Cases: what people and the escalation do about alerts, as a pure fold over one log."""
