"""Messages of a declared type, checked by the library that the type belongs to."""
