// What the pages use of Yjs.

export {
  Doc,
  UndoManager,
  applyUpdate,
  createAbsolutePositionFromRelativePosition,
  createRelativePositionFromJSON,
  createRelativePositionFromTypeIndex,
  encodeStateAsUpdate,
  encodeStateVector,
  equalSnapshots,
  mergeUpdates,
  snapshot,
} from "yjs";
