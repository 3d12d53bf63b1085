"""Pictures of planes that answer to click, wheel and arrow keys."""
