"""Retention: old months go to Parquet files and leave the database, and come back.

`retention` decides which months are due.  `leave` takes one month out of the table, and
`payloads` empties the payloads of one month.  `load` brings a file back.
"""
