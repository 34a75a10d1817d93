@0xb1d7c4c1f0a3e25d;
# The container workerd reads its Python runtime from. Only the wire layout matters: the ordinals are workerd's,
# the id and the names are ours.

enum ModuleType {
  bundle @0;
  builtin @1;
  internal @2;
}

struct Module {
  name @0 :Text;
  union {
    src @1 :Data;
    wasm @4 :Data;
    data @5 :Data;
    json @6 :Text;
  }
  tsDeclaration @3 :Text;
  type @2 :ModuleType;
  compileCache @7 :Data;
}

struct Bundle {
  modules @0 :List(Module);
}
