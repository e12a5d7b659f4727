// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

// symbolKind says what may be done with a symbol.
type symbolKind uint8

const (
	kindOpaque           symbolKind = iota // may be called; the result is Opaque
	kindStorageType                        // only inside a persistent id
	kindTensorV2                           // torch._utils._rebuild_tensor_v2
	kindTensorV1                           // torch._utils._rebuild_tensor
	kindParameter                          // returns its first argument
	kindParameterState                     // returns its first argument, takes one argument more
	kindOrderedDict                        //
	kindParameterDict                      // made by NEWOBJ, filled by BUILD
	kindKnownUnsupported                   // harmless, but not read
)

// Symbol is an allow-listed name. Nothing stands behind it: it is what the table says it is.
type Symbol struct {
	Module, Name string
	kind         symbolKind
	storage      StorageType
}

func (s *Symbol) String() string { return s.Module + "." + s.Name }

type symbolName struct{ module, name string }

// symbols is the complete allow list (hordeling chapter, section 7.2), and the names that are known, harmless and
// answered with Unsupported instead of Unsafe. There is no pattern and no prefix: a name is here or it is refused.
var symbols = func() map[symbolName]*Symbol {
	table := make(map[symbolName]*Symbol)
	add := func(kind symbolKind, module string, names ...string) {
		for _, n := range names {
			table[symbolName{module, n}] = &Symbol{Module: module, Name: n, kind: kind}
		}
	}
	for _, st := range []StorageType{
		{"FloatStorage", F32, 4}, {"HalfStorage", F16, 2}, {"BFloat16Storage", BF16, 2}, {"DoubleStorage", F64, 8},
		{"LongStorage", I64, 8}, {"IntStorage", I32, 4}, {"ShortStorage", I16, 2}, {"CharStorage", I8, 1},
		{"ByteStorage", U8, 1}, {"BoolStorage", Bool, 1},
	} {
		table[symbolName{"torch", st.Name}] = &Symbol{Module: "torch", Name: st.Name, kind: kindStorageType, storage: st}
	}
	add(kindTensorV2, "torch._utils", "_rebuild_tensor_v2")
	add(kindTensorV1, "torch._utils", "_rebuild_tensor")
	add(kindParameter, "torch._utils", "_rebuild_parameter")
	add(kindParameterState, "torch._utils", "_rebuild_parameter_with_state")
	add(kindOrderedDict, "collections", "OrderedDict")
	add(kindParameterDict, "torch.nn.modules.container", "ParameterDict")

	add(kindOpaque, "builtins", "set")
	add(kindOpaque, "numpy.core.multiarray", "scalar", "_reconstruct")
	add(kindOpaque, "numpy._core.multiarray", "scalar", "_reconstruct")
	add(kindOpaque, "numpy", "dtype", "ndarray")
	add(kindOpaque, "_codecs", "encode")
	add(kindOpaque, "torch", "Size", "device")
	add(kindOpaque, "torch", "float32", "float16", "bfloat16", "float64", "int64", "int32")
	add(kindOpaque, "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")

	add(kindKnownUnsupported, "torch.storage", "UntypedStorage", "TypedStorage", "_TypedStorage", "_UntypedStorage")
	add(kindKnownUnsupported, "torch", "UntypedStorage", "TypedStorage", "ComplexFloatStorage", "ComplexDoubleStorage",
		"QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
	add(kindKnownUnsupported, "torch._utils", "_rebuild_tensor_v3", "_rebuild_qtensor", "_rebuild_sparse_tensor",
		"_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage",
		"_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_wrapper_subclass")
	add(kindKnownUnsupported, "torch._tensor", "_rebuild_from_type_v2", "_rebuild_from_type")
	add(kindKnownUnsupported, "torch.serialization", "_get_layout")
	return table
}()

// canonicalModule maps the name that Python 2 gave a module to that of Python 3.
func canonicalModule(module string) string {
	if module == "__builtin__" {
		return "builtins"
	}
	return module
}

// lookupSymbol returns the symbol or nil.
func lookupSymbol(module, name string) *Symbol {
	return symbols[symbolName{canonicalModule(module), name}]
}

// isOpaque tells whether v is something of which only its harmlessness is known.
func isOpaque(v Value) bool {
	switch v := v.(type) {
	case Opaque:
		return true
	case *Symbol:
		return v.kind == kindOpaque
	}
	return false
}
