//! A level: one mesh and a tree of the nodes that place it. Each kind of damage is a mistake that files really have.

use clap::ValueEnum;

use crate::mesh::{self, parse_mesh};
use crate::scene::{Node, place_node};

/// What is wrong with the level, named for the crash that it causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Damage {
    /// The mesh announces no vertices and has some: they are written to a buffer that is a null pointer.
    NullWrite,
    /// The mesh's checksum is wrong: the program gives up and calls abort.
    Abort,
    /// A node of the scene is its own child: placing it overflows the stack.
    Overflow,
    /// The vertices are of an unknown kind: the program comes to a trap instruction.
    Illegal,
}

/// What a level file holds.
pub(crate) struct Level {
    mesh: Vec<u8>,
    scene: Vec<Node>,
}

impl Level {
    /// The caverns, in which something is wrong.
    pub(crate) fn damaged(damage: Damage) -> Self {
        let mut mesh = mesh::triangle();
        let mut scene = vec![Node { child: Some(1) }, Node { child: None }];
        match damage {
            Damage::NullWrite => mesh::announce_no_vertices(&mut mesh),
            Damage::Abort => mesh::spoil_the_checksum(&mut mesh),
            Damage::Overflow => scene.push(Node { child: Some(2) }),
            Damage::Illegal => mesh::use_an_unknown_kind(&mut mesh),
        }
        Self { mesh, scene }
    }
}

/// Loads the level, and says how wide it is with all its vertices.
#[inline(never)]
pub(crate) fn load_level(level: &Level) -> f32 {
    let mut width = f32::from(parse_mesh(&level.mesh));
    for root in 0..level.scene.len() {
        width += place_node(&level.scene, root, [0.0; 3]);
    }
    width
}
