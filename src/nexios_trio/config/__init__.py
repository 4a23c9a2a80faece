"""Every limit and switch of an application: what it means, and which values it accepts."""
