"""`Example` -> `Sample`: questions put to annotated images (`samples`), one file a kind of question."""
