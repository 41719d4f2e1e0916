"""Room: pictures, tables and the report page."""
