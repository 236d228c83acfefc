"""What an admin may set. `settings` names every key with its type, default and help; the rest of the package
reads a file into it (`load`), writes the sample file (`sample`) and the manual (`manual`)."""
