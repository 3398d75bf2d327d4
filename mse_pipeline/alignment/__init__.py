"""Features on one clock -> Features on another."""
