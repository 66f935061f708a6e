"""What a mirror knows: znodes and their copies, changes that wait, figures."""
