"""From records to figures, tables and verdicts; needs neither torch nor a network."""
