"""Reading for the HTTP interface: lists, pages, exports, and the record of a trade."""
