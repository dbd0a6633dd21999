//! Whole-system tests: simulation, namespaces, interoperation, tidiness.
