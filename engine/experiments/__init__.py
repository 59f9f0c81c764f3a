"""One folder for each kind of measurement: arm.py (pure), measure.py (torch), procedure.py, tables.py."""
