"""Receivers that others wrote: real Postfix, Exim and OpenSMTPD on loopback, each with what it offers as a switch."""
