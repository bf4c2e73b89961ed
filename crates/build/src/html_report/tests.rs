//! Tests of the page's structure.

use super::*;

#[test]
fn placeholder() {}
