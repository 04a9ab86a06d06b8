package tenancy

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"gorm.io/gorm/schema"
)

// registerSerializers makes our field serializers known to GORM before the first
// table is described. Their names are ours alone: GORM's registry is shared by
// the whole process.
var registerSerializers = sync.OnceFunc(func() {
	schema.RegisterSerializer("jsontext", jsonText{})
	schema.RegisterSerializer("sealed", sealed{})
})

// jsonText is the serializer of lists and maps: JSON in a text column that is
// never NULL. Nothing is "null".
type jsonText struct{}

// Scan implements schema.SerializerInterface.
func (jsonText) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, stored any) error {
	text, err := storedText(field, stored)
	if err != nil || text == "" || text == "null" {
		return err
	}
	value := reflect.New(field.FieldType)
	if err := json.Unmarshal([]byte(text), value.Interface()); err != nil {
		return fmt.Errorf("column %s.%s: %w", field.Schema.Table, field.DBName, err)
	}
	field.ReflectValueOf(ctx, dst).Set(value.Elem())
	return nil
}

// Value implements schema.SerializerInterface.
func (jsonText) Value(_ context.Context, _ *schema.Field, _ reflect.Value, value any) (any, error) {
	b, err := json.Marshal(value)
	return string(b), err
}

// storedText is the column's text as the engine returned it.
func storedText(field *schema.Field, stored any) (string, error) {
	switch v := stored.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", fmt.Errorf("column %s.%s holds %T instead of text", field.Schema.Table, field.DBName, stored)
}
