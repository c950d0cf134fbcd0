"""What a response and a client are: the kind of content, the class of device."""
