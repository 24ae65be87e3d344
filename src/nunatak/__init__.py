"""Ab initio heterogeneous reconstruction from cryo-EM particle images."""

__version__ = "0.1.0"
