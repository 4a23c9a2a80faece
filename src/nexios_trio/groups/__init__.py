"""Groups of channels in one application: memberships, broadcasting, authorization."""
