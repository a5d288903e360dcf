"""A network without a framework: operations on named values, and how their axes are made up."""
