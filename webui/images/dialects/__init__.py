"""How other programs say how a picture was made, put into A1111's words: one file each."""
