"""The admin's side: the commands of ./synctl, and what a data folder holds besides the database."""
