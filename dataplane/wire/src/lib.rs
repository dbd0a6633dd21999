//! Wire formats, one file per format: checked views and emitters.
