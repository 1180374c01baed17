"""Tests of s4s_lab.net."""
