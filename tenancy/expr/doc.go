// Package expr evaluates the expressions of a configuration, written in the
// Common Expression Language (CEL): which rows of the control plane a tenant gets
// no copy of, and what a tenant inherits in place of a setting's value.
//
// # What an expression sees
//
// Nothing but its variables: an expression has no clock, reads no database and
// calls nobody, so that it gives the same for the same rows whenever it is asked.
// Beside CEL's own functions it has those for texts (such as lowerAscii, replace,
// split and join) and optional members: entity.metadata.?team.orValue("none").
//
// # Bounds
//
// An expression is parsed and checked once, when the configuration is loaded. It
// may be 8 KiB long, and one evaluation may cost 100,000 of CEL's units, which is
// about a millisecond: one that costs more fails, and holds nobody up.
package expr
