"""From records to ranks: rows, statistics, tables and their audit; no torch."""
