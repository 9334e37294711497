package onnx
import ("testing";"os")
func TestConv(t *testing.T){
 for n,d:=range map[string][]int64{"det":{1,3,640,640},"rec":{1,3,48,160}} {
 b,err:=os.ReadFile("/tmp/npm/x/package/assets/ch_PP-OCRv4_"+n+"_infer.onnx"); if err!=nil {t.Skip()}
 m,err:=Parse(b); if err!=nil {t.Fatal(err)}
 if err:=Adapt(m,d); err!=nil {t.Fatal(n,err)}
 ops:=map[string]int{}
 for _,n:=range m.Graph.Nodes {ops[n.Op]++}
 t.Log(ops,m.Graph.Outputs)
 os.WriteFile("/tmp/"+n+".onnx",m.Bytes(),0644)
 }}
