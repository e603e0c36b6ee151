"""What every engine of the store has to do, whatever it is made of."""
