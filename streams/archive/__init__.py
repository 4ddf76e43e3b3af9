"""The archive: readings, alerts and cases in InfluxDB 2, to be looked at and recorded from years later."""
