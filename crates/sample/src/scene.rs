//! The tree of nodes that places meshes in the world.

/// A node, moved one step from its parent.
pub(crate) struct Node {
    pub(crate) child: Option<usize>,
}

/// Places a node and everything below it, and says how wide it all is. It trusts the level that no node is below itself.
#[inline(never)]
pub(crate) fn place_node(scene: &[Node], index: usize, parent: [f32; 3]) -> f32 {
    let [x, y, z] = parent;
    let place = [x + 1.0, y + 1.0, z + 1.0];
    match scene.get(index) {
        // Added after the call, and floating: no optimizer can make a loop of it.
        Some(Node { child: Some(child) }) => x + place_node(scene, *child, place),
        _ => x + y + z,
    }
}
